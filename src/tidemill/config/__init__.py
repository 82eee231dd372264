"""One typed `Settings` tree and its loader: defaults < file < environment < flags."""
