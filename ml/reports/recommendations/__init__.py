"""What to do, for the person who pays: whom to target, what it earns, how sure that is, what to test next."""
