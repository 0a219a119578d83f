"""What the learners and baselines are called, in tables and by people."""

T_LEARNER, S_LEARNER, X_LEARNER, DR_LEARNER, STACK = "t_learner", "s_learner", "x_learner", "dr_learner", "stack"
MEAN = "mean"
RESPONSE, RANDOM, PLACEBO = "response", "random", "placebo"
# The candidate that was chosen, under its second name: the one whose scores are published.
CHOSEN = "chosen"
TITLES = {
    T_LEARNER: "T-learner",
    S_LEARNER: "S-learner",
    X_LEARNER: "X-learner",
    DR_LEARNER: "DR-learner",
    STACK: "Stack of the candidates",
    MEAN: "Mean of the best candidates",
    RESPONSE: "Conversion probability",
    RANDOM: "Random order",
}
