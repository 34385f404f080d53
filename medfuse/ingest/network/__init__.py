"""Studies over DICOM networks: fetched from an archive, or received by C-STORE; whole, or not there at all."""
