"""Where bars come from: files, tables, and an invented market."""
