"""The published methods, one file each: whatever public function a file here defines is a recipe.

A file may also hold ``NAMED_OPTIONS``: the names, for the command line, of objects that its options
take, ``option -> {name: object}``.
"""
