"""The only place that names concrete classes: wires a server together, and takes it down in order."""
