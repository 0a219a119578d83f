"""What the learners and baselines are called, in tables and by people."""

T_LEARNER, X_LEARNER, DR_LEARNER = "t_learner", "x_learner", "dr_learner"
RESPONSE, RANDOM, PLACEBO = "response", "random", "placebo"
TITLES = {
    T_LEARNER: "T-learner",
    X_LEARNER: "X-learner",
    DR_LEARNER: "DR-learner",
    RESPONSE: "Conversion probability",
    RANDOM: "Random order",
}
