"""DICOM: `scan` sorts files into studies, `assemble` makes volumes, `objects` reads segmentations.

`files` opens anything that claims to be DICOM, `stack` orders slices and checks their geometry, `pixels` decodes.
"""
