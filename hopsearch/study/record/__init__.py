"""The data model: a study's identity, its trials, and their representation in Optuna's storage."""
