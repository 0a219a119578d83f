"""Running Funnelift against a MySQL or MariaDB server: reaching it, checking it, and who may do what there."""
