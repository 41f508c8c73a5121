"""What is known: the study's identity, one trial, and how both are kept in Optuna's storage."""
