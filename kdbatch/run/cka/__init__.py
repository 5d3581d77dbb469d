"""Layer-by-layer similarity of networks by minibatch linear CKA, and numbers that describe the
resulting maps.
"""
