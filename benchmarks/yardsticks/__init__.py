"""FQL written twice without the library, to be measured beside it; see README.md."""
