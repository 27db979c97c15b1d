"""The built-in colorizers, registered through entry points exactly as a stranger's would be."""
