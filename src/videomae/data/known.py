"""What earlier commands have found out about the videos of a data set."""

from __future__ import annotations

from videomae.data.catalog import Catalog
from videomae.data.manifest import Manifest
from videomae.data.shards import PackedIndices, is_packed
from videomae.video.remote import is_url


def known_packets(manifest: Manifest) -> Catalog | PackedIndices:
    """The packet indices that a packed data set brings along, and those that a scan has left in the catalog."""
    source, catalog = manifest.source, Catalog()
    return PackedIndices([source], catalog=catalog) if is_url(str(source)) or is_packed(source) else catalog
