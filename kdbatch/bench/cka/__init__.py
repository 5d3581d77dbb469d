"""`kdbatch bench cka`: the cost of a CKA map beside its parts and other tools."""
