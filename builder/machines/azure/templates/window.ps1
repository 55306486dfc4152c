# Prints a part of what the last script printed, packed; see window.sh, which does the same for Linux.
$all = [IO.File]::ReadAllBytes((Join-Path $work 'output'))
$target = New-Object IO.MemoryStream
$packed = New-Object IO.Compression.GZipStream $target, ([IO.Compression.CompressionMode]::Compress)
$packed.Write($all, $start, [Math]::Min($length, $all.Length - $start))
$packed.Dispose()
$text = [Convert]::ToBase64String($target.ToArray())
$count = [Math]::Max(0, [Math]::Min($letters, $text.Length - $from))
[Console]::Out.Write("build: window $($text.Length) $($text.Substring($from, $count))`n")
