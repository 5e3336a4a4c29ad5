"""What a source of raw rows holds, what is remarkable in it, and a preparation to begin with."""
