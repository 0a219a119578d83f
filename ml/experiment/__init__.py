"""One two-armed experiment: a real one where arms were assigned, else a simulation whose effects are known."""
