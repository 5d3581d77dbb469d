"""`kdbatch bench cka`: the cost of a CKA map, of its parts and of other tools."""
