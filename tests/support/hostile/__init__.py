"""Programs that try to pass without solving anything, to get out of their process, or to stop the tool."""
