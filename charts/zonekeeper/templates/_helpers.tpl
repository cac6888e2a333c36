{{/* Labels of every object. */}}
{{- define "zonekeeper.labels" -}}
{{ include "zonekeeper.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels of the operator's pods. NetworkPolicies of BindClusters let in whoever has them, so they have no override. */}}
{{- define "zonekeeper.selector" -}}
app.kubernetes.io/name: zonekeeper
app.kubernetes.io/component: operator
{{- end }}

{{/* The image as one reference. */}}
{{- define "zonekeeper.image" -}}
{{- $i := .Values.image -}}
{{- $name := $i.repository -}}
{{- if $i.registry }}{{ $name = printf "%s/%s" (trimSuffix "/" $i.registry) $i.repository }}{{ end -}}
{{- if $i.digest }}{{ printf "%s@%s" $name $i.digest }}{{ else }}{{ printf "%s:%s" $name (default .Chart.AppVersion $i.tag) }}{{ end -}}
{{- end }}
