"""Jobs and searches in the formats of experiment trackers: TensorBoard, MLflow, Optuna."""
