"""The Parquet files of a run: their columns, one writer, one reader."""
