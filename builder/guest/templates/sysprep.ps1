# Seals Windows: what Sysprep does can't be undone, so that every wait has an end and every failure a cause.
$sealed = 'IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE'
$folder = "$env:SystemRoot\System32\Sysprep"
$causes = @()

function Get-ImageState {
    "$(Get-Value -Path 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State' -Name 'ImageState')"
}

# Add-Cause NAME CODE PATTERN: an exit code, and what the logs say when it is the reason
function Add-Cause([string]$Name, [int]$Code, [string]$Pattern = '') {
    $script:causes += @{ name = $Name; code = $Code; pattern = $Pattern }
}

# Stop-Failed NAME: the logs' last lines, then the cause and its exit code. Without a name the logs tell the cause
function Stop-Failed([string]$Name = '') {
    $errors, $all = @(), @()
    foreach ($place in "$folder\Panther", "$env:SystemRoot\Panther") {
        foreach ($log in 'setupact.log', 'setuperr.log') {
            if (-not (Test-Path -LiteralPath "$place\$log")) { continue }
            $lines = @(Get-Content -LiteralPath "$place\$log" -Tail 400)
            $all += $lines
            if ($log -eq 'setuperr.log') { $errors += $lines }
            Write-Host "---- $place\$log"
            $lines | Select-Object -Last 60 | ForEach-Object { Write-Host $_ }
        }
    }
    $cause = $null
    if ($Name) { $cause = $causes | Where-Object { $_.name -eq $Name } }
    # What is an error counts more than what was noted on the way
    foreach ($text in ($errors -join "`n"), ($all -join "`n")) {
        if ($null -eq $cause) {
            $cause = $causes | Where-Object { $_.pattern -and $text -match $_.pattern } | Select-Object -First 1
        }
    }
    if ($null -eq $cause) { $cause = $causes | Where-Object { $_.name -eq 'other' } }
    Write-Result @{ cause = $cause.name; state = Get-ImageState }
    exit $cause.code
}

function Remove-LeftOvers([string[]]$Paths) {
    foreach ($path in $Paths) {
        $path = [Environment]::ExpandEnvironmentVariables($path)
        if (Test-Path -LiteralPath $path) {
            Remove-Item -LiteralPath $path -Recurse -Force
            Write-Output "removed $path"
        }
    }
}

# Services that a machine made of the image is set up by: sealed before they run, they never will
function Wait-Agents([string[]]$Names, [int]$Seconds) {
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    foreach ($service in @(Get-Service -Name $Names -ErrorAction SilentlyContinue)) {
        $left = [Math]::Max(1, $Seconds - [int]$clock.Elapsed.TotalSeconds)
        try {
            $service.WaitForStatus('Running', [TimeSpan]::FromSeconds($left))
        } catch [System.ServiceProcess.TimeoutException] {
            Write-Host "$($service.Name) is $($service.Status) after $Seconds seconds"
            Stop-Failed -Name 'agent'
        }
    }
}

# The program's end and the state don't come at the same moment
function Invoke-Sysprep([string[]]$Arguments, [int]$Seconds, [int]$Grace) {
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    $process = Start-Process -FilePath "$folder\Sysprep.exe" -ArgumentList $Arguments -PassThru
    # Without its handle, held now, a process that ended has no exit code
    $null = $process.Handle
    while (-not $process.WaitForExit(10000)) {
        Write-Host "Sysprep runs for $([int]$clock.Elapsed.TotalSeconds) seconds: $(Get-ImageState)"
        if ($clock.Elapsed.TotalSeconds -ge $Seconds) {
            Stop-Process -InputObject $process -Force
            Stop-Failed -Name 'timeout'
        }
    }
    $ended = [System.Diagnostics.Stopwatch]::StartNew()
    while ((Get-ImageState) -ne $sealed) {
        if ($ended.Elapsed.TotalSeconds -ge $Grace) {
            Write-Host "Sysprep ended with exit code $($process.ExitCode); the image's state is $(Get-ImageState)"
            Stop-Failed
        }
        Start-Sleep -Seconds 2
    }
    Write-Output "$sealed after $([int]$clock.Elapsed.TotalSeconds) seconds"
}
