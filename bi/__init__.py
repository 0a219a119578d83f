"""What people read: the one definition of every number on the four pages."""
