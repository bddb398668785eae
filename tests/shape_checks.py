"""The checker behind the shapes in signatures: numbers may be ints where floats are meant, as everywhere in Python."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
