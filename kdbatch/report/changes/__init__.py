"""What moved since an earlier report, and why: `kdbatch report --against OLD/report.json`."""
