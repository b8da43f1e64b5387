"""A package, so that what its tests share can be ended with the last of them (`scope="package"`)."""
