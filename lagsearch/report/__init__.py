"""The run folder's format; tables and figures. Reads run folders only."""
