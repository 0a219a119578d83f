"""What people read of a run: recommendations, model card and figures."""
