"""Settings, the run folder, and the one place where settings become live objects."""
