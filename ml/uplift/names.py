"""What the learners and baselines are called in tables."""

T_LEARNER, RESPONSE, RANDOM = "t_learner", "response", "random"
PLACEBO = "placebo"
