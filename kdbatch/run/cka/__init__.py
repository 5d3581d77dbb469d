"""Layer-by-layer similarity of networks by minibatch linear CKA, and the structure of its maps."""
