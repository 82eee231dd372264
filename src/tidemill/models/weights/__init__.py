"""Where weights come from: the hub's cache or a folder, and the safetensors files there."""
