{{- define "vmcp.name" -}}
{{ .Release.Name | trunc 46 | trimSuffix "-" }}
{{- end }}

{{- define "vmcp.selector" -}}
app.kubernetes.io/name: vmcp-operator
app.kubernetes.io/instance: {{ include "vmcp.name" . }}
{{- end }}

{{- define "vmcp.labels" -}}
{{ include "vmcp.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "vmcp.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* The rules of the given scopes: files/permissions.yaml is the one source. */ -}}
{{- define "vmcp.rules" -}}
{{- range .root.Files.Get "files/permissions.yaml" | fromYamlArray }}
{{- if and (has .scope $.scopes) (or (eq .when "always") $.root.Values.manageMCPServers) }}
- apiGroups: {{ toJson .apiGroups }}
  resources: {{ toJson .resources }}
  verbs: {{ toJson .verbs }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vmcp.servedOnly" -}}
{{- with .Values.namespaces -}}
matchResources:
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values: {{ toJson . }}
{{- end }}
{{- end }}
