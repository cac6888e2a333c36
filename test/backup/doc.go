// Package backup loses every primary of a cluster and restores it from a backup, while a BIND secondary goes on serving.
package backup
