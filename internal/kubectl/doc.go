// Package kubectl is the plugin by which kubectl shows how BindClusters are, and runs zonekeeper in one of their primaries.
//
// It has the rights of whoever runs it. Status reads objects and changes nothing. What it says is what the operator has written into their status.
package kubectl
