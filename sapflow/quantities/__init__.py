"""Values that know no spec: memory sizes, prices, merge structures."""
