"""The methods that Unlearnable Clusters are compared with: a file each, whose name is the method's."""
