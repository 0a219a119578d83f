"""The figures of uplift and money: Qini, deciles, calibration, profit by share, and the experiment to run next."""
