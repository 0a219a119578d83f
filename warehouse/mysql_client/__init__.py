"""How Python reaches a MySQL or MariaDB server: settings, sessions, plain errors and bulk loading."""
