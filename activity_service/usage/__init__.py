"""Shows clients their usage, which metering keeps."""
