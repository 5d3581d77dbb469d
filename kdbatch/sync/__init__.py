"""`kdbatch sync`: run folders to TensorBoard, Weights & Biases or MLflow; one file per tracker."""
