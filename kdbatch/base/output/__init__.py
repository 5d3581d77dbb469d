"""The standard streams, and text from outside in a form that terminals only print."""
