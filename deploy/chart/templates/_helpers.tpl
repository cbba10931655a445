{{- define "jetbridge.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "jetbridge.stepsNamespace" -}}
{{- default (printf "%s-steps" (include "jetbridge.fullname" .)) .Values.steps.namespace }}
{{- end }}

{{/* What selects a component's pods; never changed in the life of a release. */}}
{{- define "jetbridge.selector" -}}
app.kubernetes.io/name: jetbridge
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "jetbridge.labels" -}}
{{ include "jetbridge.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* An image by its name among ours, or the reference that takes its place. */}}
{{- define "jetbridge.image" -}}
{{- $images := .root.Values.images }}
{{- default (printf "%s/%s:%s" $images.prefix .name (default .root.Chart.AppVersion $images.tag)) .reference }}
{{- end }}

{{- define "jetbridge.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "jetbridge.artifactsClaim" -}}
{{- default (printf "%s-artifacts" (include "jetbridge.fullname" .)) .Values.steps.artifacts.existingClaim }}
{{- end }}

{{- define "jetbridge.cachesClaim" -}}
{{- default (printf "%s-caches" (include "jetbridge.fullname" .)) .Values.steps.caches.existingClaim }}
{{- end }}

{{/* Whether artifacts need a claim that the chart makes. */}}
{{- define "jetbridge.makesArtifactsClaim" -}}
{{- if not (or .Values.steps.objectStore.location .Values.steps.artifacts.existingClaim) }}yes{{ end }}
{{- end }}

{{/* All namespaces of steps, parted by blanks. */}}
{{- define "jetbridge.stepsNamespaces" -}}
{{- include "jetbridge.stepsNamespace" . }}
{{- range .Values.steps.places }} {{ .namespace }}{{ end }}
{{- end }}

{{/* Further places as the server's flag has them: commas part places, blanks the words of one. */}}
{{- define "jetbridge.places" -}}
{{- range $i, $place := . }}{{ if $i }},{{ end }}namespace={{ $place.namespace }}
{{- with $place.name }} name={{ . }}{{ end }}
{{- range $place.teams }} team={{ . }}{{ end }}
{{- range $place.tags }} tag={{ . }}{{ end }}
{{- end }}
{{- end }}

{{- define "jetbridge.databaseHost" -}}
{{- if .Values.postgresql.enabled }}
{{- include "jetbridge.fullname" . }}-postgresql
{{- else }}
{{- required "name a database by externalDatabase.host, or set postgresql.enabled" .Values.externalDatabase.host }}
{{- end }}
{{- end }}

{{- define "jetbridge.externalUrl" -}}
{{- if .Values.web.externalUrl }}
{{- .Values.web.externalUrl }}
{{- else if and .Values.ingress.enabled .Values.ingress.host }}
{{- printf "%s://%s" (ternary "https" "http" (ne .Values.ingress.tlsSecret "")) .Values.ingress.host }}
{{- else }}
{{- "http://127.0.0.1:8080" }}
{{- end }}
{{- end }}

{{/* What the restricted Pod Security level asks of containers. */}}
{{- define "jetbridge.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* A claim of the steps' namespace. */}}
{{- define "jetbridge.claim" }}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "jetbridge.labels" (dict "root" .root "component" "steps") | nindent 4 }}
  {{- if .root.Values.keepData }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
spec:
  accessModes:
    {{- toYaml .spec.accessModes | nindent 4 }}
  {{- with .spec.className }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ .spec.size }}
{{- end }}
