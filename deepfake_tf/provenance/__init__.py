"""What files say of their own origin: Content Credentials, XMP, IPTC, EXIF, generators' own metadata and watermark.

    from deepfake_tf.provenance import inspect
    print(inspect("photo.jpg").summary)

It needs no TensorFlow, and c2pa-python only to check Content Credentials.
"""

from deepfake_tf.provenance.findings import Finding, Report
from deepfake_tf.provenance.inspection import evidence_share, inspect, summarise
from deepfake_tf.provenance.presentation import format_table

__all__ = ["Finding", "Report", "evidence_share", "format_table", "inspect", "summarise"]
