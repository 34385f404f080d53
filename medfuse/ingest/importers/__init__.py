"""Public data sets' own layouts, each read into studies by one module."""
