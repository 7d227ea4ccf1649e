"""Sources to posts and events."""
