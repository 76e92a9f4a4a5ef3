{{- define "weft.labels" -}}
app.kubernetes.io/name: weft-controlplane
app.kubernetes.io/part-of: weft
{{- end }}
{{- define "weft.image" -}}
{{ trimSuffix "/" .root.Values.imagePrefix }}/{{ .name }}:{{ .root.Values.tag | default .root.Chart.AppVersion }}
{{- end }}
