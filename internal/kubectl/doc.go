// Package kubectl is the plugin by which kubectl shows how BindClusters are: kubectl zonekeeper status.
//
// It reads objects with the rights of whoever runs it, and changes nothing. What it says is what the operator has written into their status.
package kubectl
