"""The choices of a distillation: losses of predictions and of feature maps."""
