package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// Storage classes of the cluster. A volume is a directory of the machine that all nodes are on.
const (
	// networkClass is a disk that follows its pod to any node.
	networkClass = "network"
	// localClass is a disk of one node, which the scheduler has chosen.
	localClass = "local"

	provisionerName      = "zonekeeper.test/directory"
	annotationBy         = "pv.kubernetes.io/provisioned-by"
	annotationChosenNode = "volume.kubernetes.io/selected-node"
)

// provisioner makes a volume for each claim of its classes, and removes those whose claims are gone.
type provisioner struct {
	dir string
	api kubernetes.Interface
	log *slog.Logger
}

func provisionerCommand() *cobra.Command {
	var kubeconfig string
	p := provisioner{log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	cmd := &cobra.Command{Use: "storage-provisioner", Short: "Make volumes out of directories", Args: cobra.NoArgs}
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	cmd.Flags().StringVar(&p.dir, "dir", "", "where the volumes are")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return err
		}
		if p.api, err = kubernetes.NewForConfig(config); err != nil {
			return err
		}
		return p.run(cmd.Context())
	}
	return cmd
}

// run follows claims and volumes until ctx ends.
func (p *provisioner) run(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(p.api, 0)
	follow := func(informer cache.SharedIndexInformer, act func(context.Context, any) error) error {
		seen := func(object any) {
			if err := act(ctx, object); err != nil {
				p.log.Error("a volume", "err", err)
			}
		}
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: seen, UpdateFunc: func(_, now any) { seen(now) }})
		return err
	}
	if err := follow(factory.Core().V1().PersistentVolumeClaims().Informer(), p.provide); err != nil {
		return err
	}
	if err := follow(factory.Core().V1().PersistentVolumes().Informer(), p.reclaim); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	return nil
}

// provide makes the volume of a claim that waits for one.
func (p *provisioner) provide(ctx context.Context, object any) error {
	c, ok := object.(*corev1.PersistentVolumeClaim)
	if !ok || c.Spec.StorageClassName == nil || c.Spec.VolumeName != "" || c.DeletionTimestamp != nil {
		return nil
	}
	class, node := *c.Spec.StorageClassName, c.Annotations[annotationChosenNode]
	if class != networkClass && (class != localClass || node == "") {
		return nil
	}
	name := "pvc-" + string(c.UID)
	dir := filepath.Join(p.dir, name)
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{annotationBy: provisionerName}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: c.Spec.Resources.Requests, AccessModes: c.Spec.AccessModes, StorageClassName: class,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			ClaimRef:                      &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: c.Namespace, Name: c.Name, UID: c.UID},
			// A local volume and not a hostPath: the kubelet gives it to the pod's fsGroup.
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpExists}}}}}},
		},
	}
	if class == localClass {
		r := &v.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0]
		r.Operator, r.Values = corev1.NodeSelectorOpIn, []string{node}
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	switch _, err := p.api.CoreV1().PersistentVolumes().Create(ctx, v, metav1.CreateOptions{}); {
	case apierrors.IsAlreadyExists(err):
		return nil
	case err != nil:
		return fmt.Errorf("of claim %s/%s: %w", c.Namespace, c.Name, err)
	}
	p.log.Info("made a volume", "claim", c.Namespace+"/"+c.Name, "class", class, "dir", dir)
	return nil
}

// reclaim removes a volume whose claim is gone, with its content.
func (p *provisioner) reclaim(ctx context.Context, object any) error {
	v, ok := object.(*corev1.PersistentVolume)
	if !ok || v.Annotations[annotationBy] != provisionerName || v.Status.Phase != corev1.VolumeReleased || v.Spec.Local == nil {
		return nil
	}
	if err := os.RemoveAll(v.Spec.Local.Path); err != nil {
		return err
	}
	if err := p.api.CoreV1().PersistentVolumes().Delete(ctx, v.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("%s: %w", v.Name, err)
	}
	p.log.Info("removed a volume", "claim", v.Spec.ClaimRef.Namespace+"/"+v.Spec.ClaimRef.Name, "dir", v.Spec.Local.Path)
	return nil
}
