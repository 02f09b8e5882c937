"""The binaries: flags in, one call, exit code out."""
