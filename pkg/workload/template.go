package workload

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

// podTemplate is what the fields of web say, web's template laid over it, and defaults for what is still unset.
func podTemplate(web *v1.ElasticWeb) (*corev1ac.PodTemplateSpecApplyConfiguration, error) {
	template := generated(web)
	if web.Spec.Template != nil {
		var err error
		if template, err = overlay(template, web.Spec.Template); err != nil {
			return nil, fmt.Errorf("lay spec.template over the generated template: %w", err)
		}
		// Whatever was laid over it: the Pods are selected by these.
		template.WithLabels(selector(web))
	}
	setDefaults(template.Spec)
	return template, nil
}

// generated is what the fields of web say. What may be replaced by the template is not in here, but in the defaults.
func generated(web *v1.ElasticWeb) *corev1ac.PodTemplateSpecApplyConfiguration {
	container := corev1ac.Container().
		WithName(v1.ContainerName).
		WithImage(web.Spec.Image).
		WithPorts(corev1ac.ContainerPort().
			WithName(v1.PortName).
			WithProtocol(corev1.ProtocolTCP).
			WithContainerPort(web.Spec.ContainerPort))
	container.Resources = resources(web.Spec.Resources)
	return corev1ac.PodTemplateSpec().
		WithLabels(labels(web)).
		WithSpec(corev1ac.PodSpec().WithContainers(container))
}

// overlay lays a template over the generated one, by strategic merge.
func overlay(generated *corev1ac.PodTemplateSpecApplyConfiguration, template *corev1.PodTemplateSpec) (*corev1ac.PodTemplateSpecApplyConfiguration, error) {
	encoded, err := json.Marshal(generated)
	if err != nil {
		return nil, err
	}
	var base map[string]any
	if err := json.Unmarshal(encoded, &base); err != nil {
		return nil, err
	}
	// A copy, since it is changed.
	template = template.DeepCopy()
	if !slices.ContainsFunc(template.Spec.Containers, isApp) {
		// The merge would put it last, and kubectl logs and exec take the first.
		template.Spec.Containers = slices.Insert(template.Spec.Containers, 0, corev1.Container{Name: v1.ContainerName})
	}
	ports := takePorts(&template.Spec.Containers[slices.IndexFunc(template.Spec.Containers, isApp)])
	patch, err := runtime.DefaultUnstructuredConverter.ToUnstructured(template)
	if err != nil {
		return nil, err
	}
	prune(patch)
	merged, err := strategicpatch.StrategicMergeMapPatch(base, patch, corev1.PodTemplateSpec{})
	if err != nil {
		return nil, err
	}
	if encoded, err = json.Marshal(merged); err != nil {
		return nil, err
	}
	result := corev1ac.PodTemplateSpec()
	if err := json.Unmarshal(encoded, result); err != nil {
		return nil, err
	}
	app(result.Spec).WithPorts(ports...)
	return result, nil
}

func isApp(container corev1.Container) bool { return container.Name == v1.ContainerName }

// takePorts takes the ports out of the app in a template. Strategic merge would know them by their number alone and mix, say,
// TCP 443 with UDP 443; apply knows them by number and protocol.
func takePorts(app *corev1.Container) (ports []*corev1ac.ContainerPortApplyConfiguration) {
	for _, port := range app.Ports {
		taken := corev1ac.ContainerPort().WithContainerPort(port.ContainerPort)
		if port.Protocol != "" {
			taken.WithProtocol(port.Protocol)
		}
		if port.Name != "" {
			taken.WithName(port.Name)
		}
		if port.HostPort != 0 {
			taken.WithHostPort(port.HostPort)
		}
		if port.HostIP != "" {
			taken.WithHostIP(port.HostIP)
		}
		ports = append(ports, taken)
	}
	app.Ports = nil
	return ports
}

// encodedWhenAbsent are the fields of a Pod template that are structs, not pointers: the encoding cannot tell whether somebody
// wrote them. (An emptyDir: {} is a pointer, and means something.)
var encodedWhenAbsent = map[string]bool{"metadata": true, "spec": true, "resources": true}

// prune drops what the encoding of a typed template says although nobody wrote it: null for a list that is absent, which a
// merge would read as "delete", and {} for a struct.
func prune(object map[string]any) {
	for key, value := range object {
		switch value := value.(type) {
		case nil:
			delete(object, key)
		case map[string]any:
			prune(value)
			if len(value) == 0 && encodedWhenAbsent[key] {
				delete(object, key)
			}
		case []any:
			for _, item := range value {
				if item, ok := item.(map[string]any); ok {
					prune(item)
				}
			}
		}
	}
}

// setDefaults fills in what neither web's fields nor its template say.
func setDefaults(pod *corev1ac.PodSpecApplyConfiguration) {
	for _, containers := range [][]corev1ac.ContainerApplyConfiguration{pod.InitContainers, pod.Containers} {
		for i := range containers {
			setContainerDefaults(&containers[i])
		}
	}
	for i := range pod.Volumes {
		setVolumeDefaults(&pod.Volumes[i])
	}
	container := app(pod)
	if container.ReadinessProbe == nil {
		// Without a probe a Pod counts as ready once it has started, and realQPS would be a claim.
		container.WithReadinessProbe(corev1ac.Probe().
			WithTCPSocket(corev1ac.TCPSocketAction().WithPort(intstr.FromString(v1.PortName))))
	}
	if pod.OS != nil && pod.OS.Name != nil && *pod.OS.Name == corev1.Windows {
		// It has none of the rest, and the API refuses it.
		return
	}
	// As much as every stock image stands: nginx, for one, starts as root.
	if pod.SecurityContext == nil {
		pod.WithSecurityContext(corev1ac.PodSecurityContext())
	}
	if pod.SecurityContext.SeccompProfile == nil {
		pod.SecurityContext.WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))
	}
	if container.SecurityContext == nil {
		container.WithSecurityContext(corev1ac.SecurityContext())
	}
	if container.SecurityContext.AllowPrivilegeEscalation == nil && !privileged(container.SecurityContext) {
		container.SecurityContext.WithAllowPrivilegeEscalation(false)
	}
}

// The next three set what the cluster would: it becomes part of what we own (the key of a port, the inside of what is owned as a
// whole), comes back with it, and would look like a difference.

func setContainerDefaults(container *corev1ac.ContainerApplyConfiguration) {
	for i := range container.Ports {
		if container.Ports[i].Protocol == nil {
			container.Ports[i].WithProtocol(corev1.ProtocolTCP)
		}
	}
	for i := range container.Env {
		if from := container.Env[i].ValueFrom; from != nil {
			setFieldRefDefaults(from.FieldRef)
		}
	}
}

func setVolumeDefaults(volume *corev1ac.VolumeApplyConfiguration) {
	if volume.DownwardAPI != nil {
		for i := range volume.DownwardAPI.Items {
			setFieldRefDefaults(volume.DownwardAPI.Items[i].FieldRef)
		}
	}
	if volume.Projected == nil {
		return
	}
	for _, source := range volume.Projected.Sources {
		if source.DownwardAPI != nil {
			for i := range source.DownwardAPI.Items {
				setFieldRefDefaults(source.DownwardAPI.Items[i].FieldRef)
			}
		}
		if token := source.ServiceAccountToken; token != nil && token.ExpirationSeconds == nil {
			token.WithExpirationSeconds(60 * 60)
		}
	}
}

func setFieldRefDefaults(ref *corev1ac.ObjectFieldSelectorApplyConfiguration) {
	if ref != nil && ref.APIVersion == nil {
		ref.WithAPIVersion("v1")
	}
}

// privileged says whether the template asks for what includes privilege escalation; the API refuses to forbid it then.
func privileged(context *corev1ac.SecurityContextApplyConfiguration) bool {
	return context.Privileged != nil && *context.Privileged ||
		context.Capabilities != nil && slices.Contains(context.Capabilities.Add, "CAP_SYS_ADMIN")
}

// app is the container that runs spec.image; every template has it.
func app(pod *corev1ac.PodSpecApplyConfiguration) *corev1ac.ContainerApplyConfiguration {
	i := slices.IndexFunc(pod.Containers, func(c corev1ac.ContainerApplyConfiguration) bool { return c.Name != nil && *c.Name == v1.ContainerName })
	return &pod.Containers[i]
}
